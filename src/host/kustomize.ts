/** What kubectl builds of a folder with a kustomization. */
import { CommandFailed, runCommand } from './command.ts';

/** Remote resources of a kustomization are fetched by kubectl. */
const BUILD_TIMEOUT_MS = 60_000;
/** The error where nothing was tried. */
export const NO_KUBECTL = 'there is no kubectl on PATH';

export async function buildKustomization(
  folder: string,
): Promise<{ readonly text: string } | { readonly error: string }> {
  try {
    const { stdout } = await runCommand({ argv: ['kubectl', 'kustomize', folder], timeoutMs: BUILD_TIMEOUT_MS });
    return { text: stdout };
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    if (error.reason === 'not-found') return { error: NO_KUBECTL };
    return { error: error.stderr.trim().split('\n').at(-1) || error.message };
  }
}
