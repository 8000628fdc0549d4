/** Scripts by which shells complete command lines of `skerry`: made from the commands themselves, so that they know as much. */
import type { Command, Option } from 'commander';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** What may come after some words. */
interface Place {
  /** The words that lead there, without `skerry`: '' or 'image build'. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly says: string }[];
}

export function completionScript(shell: Shell, program: Command): string {
  const places = placesOf(program, '');
  if (shell === 'fish') return fish(places);
  return shell === 'bash' ? bash(places) : zsh(places);
}

function placesOf(command: Command, path: string): readonly Place[] {
  const below = command.commands.map((each) => ({ each, word: each.name() }));
  const options = command.options.filter((option) => !option.hidden).flatMap(optionWords);
  const words = [
    ...below.map(({ each, word }) => ({ word, says: each.summary() || each.description() })),
    ...options,
  ];
  return [{ path, words }, ...below.flatMap(({ each, word }) => placesOf(each, `${path} ${word}`.trim()))];
}

const optionWords = ({ long, description }: Option) => (long ? [{ word: long, says: description }] : []);

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
/** Descriptions are lines of a menu. */
const short = (text: string): string => text.replaceAll(/\s+/g, ' ').slice(0, 100);

/** Walks the words before the cursor; what comes after `--` is another program's. */
const pathsOf = (places: readonly Place[]): string =>
  places
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(` ${path}`))
    .join('|');

const bash = (places: readonly Place[]): string => `# bash completion for skerry
_skerry() {
  local path='' word words=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -- ]] && return
    case "$path $word" in
      ${pathsOf(places)}) path="$path $word" ;;
    esac
  done
  case "$path" in
${places.map(({ path, words }) => `    ${quoted(path && ` ${path}`)}) words=${quoted(words.map(({ word }) => word).join(' '))} ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _skerry skerry
`;

const zsh = (places: readonly Place[]): string => `#compdef skerry
_skerry() {
  local place='' word
  local -a found
  for word in "\${words[@]:1:$((CURRENT - 2))}"; do
    [[ $word == -- ]] && { _files; return }
    case "$place $word" in
      (${pathsOf(places)}) place="$place $word" ;;
    esac
  done
  case "$place" in
${places
  .map(({ path, words }) => {
    const found = words.map(({ word, says }) => quoted(`${word}:${short(says).replaceAll(':', '\\:')}`));
    return `    (${quoted(path && ` ${path}`)}) found=(${found.join(' ')}) ;;`;
  })
  .join('\n')}
  esac
  _describe skerry found || _files
}
if [[ "\${funcstack[1]}" == _skerry ]]; then _skerry "$@"; else compdef _skerry skerry; fi
`;

const fish = (places: readonly Place[]): string =>
  `# fish completion for skerry\n${places
    .flatMap(({ path, words }) => {
      const when =
        path === ''
          ? '__fish_use_subcommand'
          : path
              .split(' ')
              .map((word) => `__fish_seen_subcommand_from ${word}`)
              .join('; and ');
      return words.map(({ word, says }) => {
        const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-f -a ${word}`;
        return `complete -c skerry -n ${quoted(when)} ${what} -d ${fishQuoted(short(says))}`;
      });
    })
    .join('\n')}\n`;

/** In single quotes fish knows two escapes. */
const fishQuoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
