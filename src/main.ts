/** The program as the image holds it: every command but the lab, which is in `lab/main.ts`. */
import { runProcess } from './cli/run-process.ts';

void runProcess();
