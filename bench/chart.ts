/** Timings as a picture: for each a line from its fastest to its slowest and a dot at its median, on a scale of powers of ten. */
import { milliseconds, type Results } from './statistics.ts';

const [WIDTH, LABELS, FIGURES, ROW, HEAD] = [860, 270, 70, 22, 40];
const PLOT = WIDTH - LABELS - FIGURES;

/** An SVG document that reads on light and on dark. @throws RangeError when nothing was measured */
export function chart(results: Results): string {
  const all = [...results.values()].flatMap((rows) =>
    [...rows.values()].flatMap(({ min, max }) => [min, max]),
  );
  if (all.length === 0) throw new RangeError('nothing to draw');
  const first = Math.floor(Math.log10(Math.min(...all)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(...all))));
  const x = (value: number) => LABELS + (PLOT * (Math.log10(value) - first)) / (last - first);
  const parts: string[] = [];
  let y = 0;
  for (const [title, rows] of results) {
    parts.push(text(0, y + HEAD / 2, title, 'font-weight="bold"'));
    for (let power = first; power <= last; power++) {
      const at = x(10 ** power);
      parts.push(line(at, y + HEAD - 8, at, y + HEAD + rows.size * ROW, 'stroke-opacity="0.2"'));
      parts.push(
        text(at, y + HEAD - 12, (10 ** power).toString(), 'text-anchor="middle" fill-opacity="0.6"'),
      );
    }
    y += HEAD;
    for (const [name, summary] of rows) {
      const middle = y + ROW / 2;
      parts.push(text(0, middle + 4, name));
      parts.push(line(x(summary.min), middle, x(summary.max), middle, 'stroke-width="3"'));
      parts.push(`<circle cx="${x(summary.median).toFixed(1)}" cy="${middle}" r="5"/>`);
      parts.push(text(WIDTH, middle + 4, milliseconds(summary.median), 'text-anchor="end"'));
      y += ROW;
    }
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + ROW}" font-family="sans-serif" font-size="12" fill="#4078c0" stroke="none" role="img">`,
    `<title>${escaped([...results.keys()].join('; '))}</title>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

const text = (x: number, y: number, words: string, attributes = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`;

const line = (x1: number, y1: number, x2: number, y2: number, attributes: string): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="#4078c0" ${attributes}/>`;

const escaped = (words: string): string =>
  words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
