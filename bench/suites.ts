/** The suites there are, and what each needs around it. */
import { IMAGE_ENV, IMAGE_FLAGS } from '../scripts/image.ts';

export interface SuiteSpec {
  readonly name: string;
  readonly what: string;
  /** `none`: pure computation. `kernel`: root and the netfilter tools. */
  readonly needs: 'none' | 'kernel';
  /** Run in an empty network namespace of its own, with loopback up; a suite that makes its own namespaces needs none. */
  readonly isolated: boolean;
  /** Whether another version can be measured beside this one (`bench/against/<name>.ts`). */
  readonly comparable?: true;
  readonly nodeFlags: readonly string[];
}

export { IMAGE_ENV, IMAGE_FLAGS };

export const SUITES: readonly SuiteSpec[] = [
  { name: 'cidr', what: 'addresses, tries, set algebra', needs: 'none', isolated: false, nodeFlags: [] },
  { name: 'flows', what: 'matrix and diff of 10,000 pods', needs: 'none', isolated: false, nodeFlags: [] },
  {
    name: 'compile',
    what: 'CPU of a full compile and of one pod event',
    needs: 'none',
    isolated: false,
    nodeFlags: ['--max-semi-space-size=1', '--expose-gc'],
    comparable: true,
  },
  {
    name: 'memory',
    what: 'RSS of the agent process',
    needs: 'kernel',
    isolated: true,
    nodeFlags: [],
    comparable: true,
  },
  {
    name: 'hostile',
    what: 'memory and commits while tenants send 500 MB',
    needs: 'kernel',
    isolated: true,
    nodeFlags: [],
  },
  { name: 'start', what: 'cold start and restart', needs: 'kernel', isolated: true, nodeFlags: [], comparable: true },
  {
    name: 'event',
    what: 'from the API write to packets and commit',
    needs: 'kernel',
    isolated: true,
    nodeFlags: IMAGE_FLAGS,
    comparable: true,
  },
  {
    name: 'resync',
    what: 'reading a large node back',
    needs: 'kernel',
    isolated: true,
    nodeFlags: ['--max-semi-space-size=1'],
  },
  {
    name: 'packet',
    what: 'cost per packet and connection',
    needs: 'kernel',
    isolated: false,
    nodeFlags: [],
    comparable: true,
  },
  {
    name: 'denials',
    what: 'a thousand denied packets a second for a minute',
    needs: 'kernel',
    isolated: false,
    nodeFlags: [],
  },
];
