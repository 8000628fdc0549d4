/** Makes docs/configuration.md from the settings, so that the page cannot differ from the program. */
import { describeSettings } from './settings.ts';

/** The page as Markdown. */
export function configurationPage(): string {
  const rows = describeSettings().map(({ flag, variable, key, description, choices, defaultText }) => {
    const value = defaultText === '' ? '' : `\`${defaultText}\``;
    const text = choices
      ? `${description} (${choices.map((choice) => `\`${choice}\``).join(', ')})`
      : description;
    return `| \`${flag}\` | \`${variable}\` | \`${key}\` | ${value} | ${text} |`;
  });
  return `# Configuration

<!-- Made by \`npm run generate\` from server/src/config/config.ts; do not edit. -->

Each setting can be given in three places. A flag of \`skerry up\` wins over a variable of the environment, a variable over the file, the file over
the default. The file is \`$XDG_CONFIG_HOME/skerry/config.json\` (\`~/.config/skerry/config.json\`) or the one of \`--config\`: one JSON
object with the keys below. Lists are comma-separated in flags and variables, and arrays in the file. A value that is not valid stops the start and is
reported with the place it came from.

A server that runs reads the file again at \`skerry restart\`; other flags and variables take \`skerry down --keep\` and \`skerry up\`. The key of stored
secrets is no setting: \`SKERRY_VAULT_KEY\` of the environment (32 bytes, hex or base64) takes the place of \`vault.key\` in the data directory.

| flag | variable | key | default | meaning |
|---|---|---|---|---|
${rows.join('\n')}
`;
}
