/** What a command says that has done something: one JSON object a line where that is asked for, or words for people. */
export function tell(done: object, words: string, { json }: { readonly json?: boolean | undefined }): void {
  process.stdout.write(json ? `${JSON.stringify(done)}\n` : `${words}\n`);
}

/** The option of commands whose answer is one thing, and of those whose answer may be several. */
export const oneObject = ['--json', 'print one JSON object'] as const;
export const objectALine = ['--json', 'print one JSON object a line'] as const;
