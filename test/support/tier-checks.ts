/** Checks of lint that are about cluster-wide policies alone. */
import type { CheckName } from '../../src/policy/lint.ts';

export const TIER_CHECKS = [
  'unsupported-field',
  'other-api-group',
  'matches-nothing',
  'equal-priority',
  'never-reached',
  'pass-in-baseline',
  'denies-dns',
  'denies-system',
  'experimental-peer',
] as const satisfies readonly CheckName[];
