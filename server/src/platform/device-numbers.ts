/** The two numbers of a device, as glibc takes them out of one (gnu_dev_major(3), gnu_dev_minor(3)): of 12 and 20 bits, which Node gives as they are. */
export const deviceNumbers = (device: number): { readonly major: number; readonly minor: number } => ({
  major: (device >>> 8) & 0xfff,
  minor: (device & 0xff) | ((device >>> 12) & 0xf_ff00),
});
