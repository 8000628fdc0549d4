/** Under gVisor what `engine.test.ts` has under runc. */
import { conformOnThisMachine } from '../testing/oci-conformance.ts';

await conformOnThisMachine('gvisor');
