/** Text of strangers in words of ours. */

/** Text of a caller, short enough to repeat in a message. */
export const clip = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
