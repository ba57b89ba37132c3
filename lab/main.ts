/** The program as a checkout holds it: the commands of the product, and the lab. */
import { runProcess } from '../src/cli/run-process.ts';
import { LAB_COMMAND } from './command/lab-command.ts';

await runProcess([LAB_COMMAND]);
