/** The client library's informer on all pods, for suite *memory*. Argument: kubeconfig file. Says `synced` when it has them. */
import { CoreV1Api, KubeConfig, makeInformer } from '@kubernetes/client-node';

const config = new KubeConfig();
config.loadFromFile(process.argv[2]!);
const api = config.makeApiClient(CoreV1Api);
const informer = makeInformer(config, '/api/v1/pods', () => api.listPodForAllNamespaces());
let pods = 0;
informer.on('add', () => pods++);
informer.on('error', (error: unknown) => {
  console.log(`failed: ${String(error)}`);
  process.exit(1);
});
await informer.start();
console.log(`synced ${pods}`);
