/** Colours as a function, so that what writes text needs to know no terminal. */

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'alarm';

export type Paint = (style: Style, text: string) => string;

/** For pipes, files and tests. */
export const plain: Paint = (_style, text) => text;
