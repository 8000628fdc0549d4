/** What Linux takes for a path, <linux/limits.h>; in bytes. */

/** PATH_MAX without its terminating NUL. */
export const MAX_PATH_BYTES = 4095;
/** NAME_MAX. */
export const MAX_NAME_BYTES = 255;
