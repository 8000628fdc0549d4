/** Where the server in one file is, if it is. */
export const bundleFile: string;
/** Whether it is there and made of the sources as they are. */
export function isBundled(file?: string): boolean;
