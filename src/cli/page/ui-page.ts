/** The page of `portcullis ui`: it loads nothing, runs the scripts that are in it, and asks only the server that it came from. */
import { createHash } from 'node:crypto';

import { MATRIX_SCRIPT, MATRIX_STYLE, UI_SCRIPT, UI_STYLE } from './page-parts.ts';

export function uiPage(): { readonly html: string; readonly policy: string } {
  const scripts = [MATRIX_SCRIPT, UI_SCRIPT];
  const hashes = scripts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`);
  return {
    policy:
      `default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; script-src ${hashes.join(' ')}; ` +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Portcullis</title>
<style>
body { margin: 0; }
${MATRIX_STYLE}${UI_STYLE}</style>
</head>
<body>
<div id="portcullis-ui"><noscript>This page needs its own script.</noscript></div>
${scripts.map((text) => `<script>${text}</script>`).join('\n')}
</body>
</html>
`,
  };
}
