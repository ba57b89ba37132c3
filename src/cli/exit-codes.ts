export const EXIT_OK = 0;
/** The command did not succeed, or found the difference it was asked about. */
export const EXIT_FAILURE = 1;
/** The command line cannot be understood, or what was asked about cannot be told. */
export const EXIT_USAGE = 2;
/** What is in force is not what was asked for. */
export const EXIT_DISAGREES = 3;
/** Not all of what was asked about could be told. */
export const EXIT_UNKNOWN = 4;
