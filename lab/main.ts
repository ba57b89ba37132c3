/** The program as a checkout holds it: the commands of the product, and the lab. */
import { runProcess } from '../src/cli/run-process.ts';

await runProcess([
  {
    name: 'lab',
    summary: 'a cluster in a box: try policies with real packets, on Linux as root',
    run: async (argv, { signal }) => (await import('./command/run-lab.ts')).runLab(argv, { signal }),
  },
]);
