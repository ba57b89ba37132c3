/** What lint finds or does not find: a shop with a named port, its data base, and DNS. */
import { pod } from './builders.ts';

export const LINT_PODS = [
  pod('shop/web', {
    addresses: ['10.0.0.1'],
    labels: { app: 'web' },
    namedPorts: [{ name: 'http', protocol: 'TCP', port: 80 }],
  }),
  pod('shop/db', { addresses: ['10.0.0.2'], labels: { app: 'db' } }),
  pod('kube-system/dns', { addresses: ['10.0.0.53'], labels: { 'k8s-app': 'kube-dns' } }),
];
