/** The path of a program of `tools/package.json`, which is there when this resolves. */
export function tool(name: string): Promise<string>;
