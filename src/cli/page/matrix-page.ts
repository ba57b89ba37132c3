/** One page that needs no network: its policy lets it load nothing, and run only the script that is in it. */
import { createHash } from 'node:crypto';

import { MATRIX_SCRIPT, MATRIX_STYLE } from './page-parts.ts';

/** `data`: what `pageData` gives. */
export function matrixPage(title: string, data: object): string {
  const policy = `default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '${hashOf(MATRIX_SCRIPT)}'; base-uri 'none'; form-action 'none'`;
  // No text of a cluster may end the element that holds it.
  const held = JSON.stringify(data).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>${escaped(title)}</title>
<style>
body { margin: 0; }
${MATRIX_STYLE}</style>
</head>
<body>
<div id="portcullis-matrix"><noscript>This page needs its own script. portcullis matrix -o markdown writes a table instead.</noscript></div>
<script type="application/json" id="portcullis-matrix-data">${held}</script>
<script>${MATRIX_SCRIPT}</script>
</body>
</html>
`;
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
