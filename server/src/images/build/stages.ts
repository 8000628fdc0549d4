/** Which stages of a Dockerfile a build needs, and what their names mean. */
import type { Stage, WrittenMount } from '../dockerfile/instruction.ts';

/** The stage before number `before` that a name or number means; a later stage of the same name hides an earlier one. */
export function stageNamed(stages: readonly Stage[], name: string, before: number): Stage | undefined {
  const earlier = stages.slice(0, before);
  const named = earlier.findLast((stage) => stage.from.alias === name.toLowerCase());
  return named ?? (/^\d{1,4}$/.test(name) ? earlier[Number(name)] : undefined);
}

/** The stages that the last one is built from, in order; others are skipped. `expandFrom` gives the image a stage starts from. */
export function neededStages(
  stages: readonly Stage[],
  expandFrom: (stage: Stage) => string,
): readonly Stage[] {
  const needed = new Set<Stage>();
  const visit = (index: number): void => {
    const stage = stages[index];
    if (!stage || needed.has(stage)) return;
    needed.add(stage);
    for (const name of [expandFrom(stage), ...otherSources(stage)]) {
      // A name that is known only while building could be any of the stages before.
      if (name.includes('$')) for (let earlier = 0; earlier < index; earlier++) visit(earlier);
      const used = stageNamed(stages, name, index);
      if (used) visit(stages.indexOf(used));
    }
  };
  visit(stages.length - 1);
  return stages.filter((stage) => needed.has(stage));
}

/** What COPY and the mounts of RUN take files from. */
const otherSources = (stage: Stage): string[] =>
  stage.instructions.flatMap((each) => {
    const named =
      each.kind === 'copy' ? [each.from] : each.kind === 'run' ? each.mounts.map(mountSource) : [];
    return named.filter((name) => name !== undefined);
  });

const mountSource = ({ options }: WrittenMount) => options.get('from');
