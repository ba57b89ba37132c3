/** Where the library is that calls C functions. The bundle has a file of its own beside it (scripts/bundle.ts replaces this module). */
import { createRequire } from 'node:module';

/** Undefined: there is none for this system. */
export function ffiFile(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(
      `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`,
    );
  } catch {
    return undefined;
  }
}
