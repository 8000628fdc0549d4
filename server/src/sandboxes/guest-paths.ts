/** Places in every sandbox that callers of the domain may run programs from. */
export { GUEST_FS_TOOLS } from '../engines/paths.ts';
