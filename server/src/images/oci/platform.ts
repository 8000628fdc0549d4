/** This machine's architecture as Go and with it all of OCI call it. */
export const thisPlatform: string = process.arch === 'x64' ? 'amd64' : process.arch;
