/** Which labels of a pod a selector should ask for: those that its workload keeps from one rollout to the next. */
import type { Labels } from './model.ts';

/** Set by controllers, and another with each rollout or pod. */
const PASSING_LABELS = new Set([
  'pod-template-hash',
  'controller-revision-hash',
  'pod-template-generation',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'controller-uid',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-completion-index',
]);
/** The first of these says what a pod is; where none is there, all its labels do. */
const IDENTITY_LABELS = ['app.kubernetes.io/name', 'k8s-app', 'app'];

export function lastingLabels(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !PASSING_LABELS.has(key)));
}

/** The labels that say which pods are meant, as a person would write them. */
export function identityLabels(labels: Labels): Labels {
  const lasting = Object.entries(lastingLabels(labels));
  const identity = IDENTITY_LABELS.find((key) => lasting.some(([each]) => each === key));
  return Object.fromEntries(identity === undefined ? lasting : lasting.filter(([key]) => isOfIdentity(key, identity)));
}

/** One chart may be installed twice, and holds several components. */
function isOfIdentity(key: string, identity: string): boolean {
  return key === identity || key === 'app.kubernetes.io/instance' || key === 'app.kubernetes.io/component';
}
