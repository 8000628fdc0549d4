/** Under runc; `engine-gvisor.test.ts` has the same under gVisor. */
import { conformOnThisMachine } from '../testing/oci-conformance.ts';

await conformOnThisMachine('runc');
