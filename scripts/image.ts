/** How the image runs the program (Dockerfile); a test compares them. */

/** V8 takes compiled code only from a run with the same flags. */
export const IMAGE_FLAGS: readonly string[] = ['--max-old-space-size=192', '--max-semi-space-size=1'];

export const IMAGE_ENV: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '8192',
  MALLOC_TRIM_THRESHOLD_: '65536',
};
