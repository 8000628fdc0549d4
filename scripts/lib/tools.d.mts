/** Installs the programs of `tools/package.json` where they are not. Not for two processes at once. */
export function ensureTools(): Promise<string>;

/** The path of a program of `tools/package.json`, which is there when this resolves. */
export function tool(name: string): Promise<string>;
