/** The script and style of pages, as text. In the bundle this module is these texts (scripts/bundle.ts). */
import { readFileSync } from 'node:fs';

const read = (name: string): string => readFileSync(new URL(name, import.meta.url), 'utf8');

export const MATRIX_STYLE = read('matrix.css');
export const MATRIX_SCRIPT = read('matrix.js');
export const UI_STYLE = read('ui.css');
export const UI_SCRIPT = read('ui.js');
