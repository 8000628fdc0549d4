import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counts } from './counts.ts';
import { Metrics } from './metrics.ts';

test('what was counted, timed and asked for is told with its labels', async () => {
  const counts = new Counts();
  const metrics = new Metrics(counts);
  const mine = { caller: 'ak-1', subjects: {} };
  let waiting = 2;
  metrics.gauge({ name: 'waiting', help: 'h', labels: ['kind'], read: () => [[{ kind: 'a' }, waiting]] });
  metrics.onCall({ api: 'modal', method: 'SandboxList', status: 'OK', durationMs: 3, ...mine });
  metrics.onCall({ api: 'modal', method: 'SandboxList', status: 'NotFound', durationMs: 3000, ...mine });
  metrics.started({ runtime: 'runc', waited: true, ms: 40, phases: { bind: 20 } });
  metrics.built('failure', 2000);
  metrics.ended('timeout');
  counts.execs = 7;
  const told = await metrics.text();
  for (const line of [
    'skerry_calls_total{api="modal",method="SandboxList",code="NotFound"} 1',
    'skerry_call_duration_seconds_bucket{le="0.005",api="modal",method="SandboxList"} 1',
    'skerry_call_duration_seconds_count{api="modal",method="SandboxList"} 2',
    'skerry_sandbox_start_duration_seconds_bucket{le="0.05",runtime="runc",warm="true"} 1',
    'skerry_sandbox_start_phase_duration_seconds_sum{runtime="runc",phase="bind"} 0.02',
    'skerry_image_build_duration_seconds_count{outcome="failure"} 1',
    'skerry_sandboxes_ended_total{reason="timeout"} 1',
    'skerry_execs_total 7',
    'waiting{kind="a"} 2',
  ])
    assert.ok(told.split('\n').includes(line), `${line} in\n${told}`);
  waiting = 0;
  assert.match(await metrics.text(), /^waiting\{kind="a"\} 0$/m);
});
