/** Where the time of a start went: a bar for each of its parts, the longest first. */
export function PhaseChart({ title, phases }: { title: string; phases: Readonly<Record<string, number>> }) {
  const parts = Object.entries(phases)
    .filter(([, ms]) => ms > 0)
    .sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...parts.map(([, ms]) => ms));
  return (
    <figure class="phases">
      <figcaption>{title}</figcaption>
      <dl>
        {parts.map(([name, ms]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <meter min={0} max={most} value={ms} aria-label={name} /> {ms.toFixed(1)} ms
            </dd>
          </div>
        ))}
      </dl>
    </figure>
  );
}
