/** A text in a file that is replaced as a whole, and the name of the kernel that runs now. */
import { open, readFile, readlink, rename, writeFile } from 'node:fs/promises';

/** Nobody keeps more. */
const MAX_BYTES = 16 * 1024 * 1024;

/** Undefined where there is no such file. Rejects if it cannot be read or is too long. */
export async function readKept(file: string): Promise<string | undefined> {
  try {
    const handle = await open(file);
    try {
      if ((await handle.stat()).size > MAX_BYTES) throw new Error(`${file} is longer than ${MAX_BYTES} bytes`);
      return await handle.readFile('utf8');
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Another file takes the name at once: who reads finds the old text or the new one. The folder must be there. */
export async function writeKept(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** One per boot and network namespace; undefined where that is not to be found out. */
export async function kernelScope(): Promise<string | undefined> {
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
    return `${boot} ${await readlink('/proc/self/ns/net')}`;
  } catch {
    return undefined;
  }
}
