import { stringify } from 'yaml';
import type { CommandContext } from '../command.ts';
import type { MatrixOptions } from './options.ts';

import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { pageData } from '../page/page-data.ts';
import { matrixPage } from '../page/matrix-page.ts';
import { paintFor } from '../paint.ts';
import { readInventory } from '../source/read-objects.ts';
import { matrixCsv, matrixData, matrixMarkdown } from './data.ts';
import { matrixText, summaryOf } from './text.ts';
import { type MatrixView, regrouped, viewOf } from './view.ts';

/** Text of more rows is by namespace, unless rows were asked for. */
const MAX_TEXT_ROWS = 60;
/** Of a document that holds them all at once. */
const MAX_CELLS = 250_000;
const WIDTH = 160;
const TITLE = 'Who may reach whom';

/** Throws `UsageProblem`. */
export async function runMatrix(options: MatrixOptions, context: CommandContext): Promise<number> {
  const inventory = await readInventory(options, context);
  if (!inventory) return EXIT_FAILURE;
  const view = viewOf([inventory], options);
  if (!view.groups.some(({ type }) => type === 'pod'))
    throw new UsageProblem('there is no pod or workload in what was given: its flows cannot be told');
  const { out } = context;
  switch (options.output) {
    case 'text': {
      const isLong =
        options.group === undefined && Math.max(view.sources.length, view.destinations.length) > MAX_TEXT_ROWS;
      const shown = isLong ? regrouped(view.matrix, [inventory], options, 'namespace') : view;
      out(matrixText(shown, process.stdout.columns ?? WIDTH, paintFor(process.stdout, context.env)));
      if (isLong)
        out(
          `\n${view.groups.length} workloads, shown by namespace: --from and --to narrow, --group workload shows all\n`,
        );
      break;
    }
    case 'markdown':
      for (const line of matrixMarkdown(view)) out(line);
      break;
    case 'csv':
      for (const line of matrixCsv(view)) out(line);
      break;
    case 'json':
      out(`${JSON.stringify(matrixData(within(view)), undefined, 2)}\n`);
      break;
    case 'yaml':
      out(stringify(matrixData(within(view))));
      break;
    case 'html':
      out(matrixPage(TITLE, pageData(view, TITLE, summaryOf(view))));
      break;
  }
  return EXIT_OK;
}

function within(view: MatrixView): MatrixView {
  const cells = view.sources.length * view.destinations.length;
  if (cells <= MAX_CELLS) return view;
  throw new UsageProblem(
    `${cells} cells are more than ${MAX_CELLS}: narrow them with --from and --to, take --group namespace, or -o csv or html`,
  );
}
