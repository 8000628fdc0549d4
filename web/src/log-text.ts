/** Text that grows at its end, shown as text. */

/** What is kept on the page; the server has all of it. */
const MAX_PIECES = 2_000;

/** Adds text, and follows it unless somebody reads further up. @param kind a class for its colour */
export function appendText(into: HTMLElement, text: string, kind: string): void {
  const atEnd = into.scrollHeight - into.scrollTop - into.clientHeight < 40;
  const piece = document.createElement('span');
  piece.className = kind;
  piece.textContent = plain(text);
  into.append(piece);
  while (into.childNodes.length > MAX_PIECES) into.firstChild?.remove();
  if (atEnd) into.scrollTop = into.scrollHeight;
}

/** Without the sequences that colour a terminal (ECMA-48, section 5.4), and other control characters. */
const plain = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  text.replaceAll(/\u001b\[[0-?]*[ -/]*[@-~]|\u001b|[\u0000-\u0008\u000b-\u001a]/g, '');
