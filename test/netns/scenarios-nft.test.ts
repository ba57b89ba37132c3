/** With its neighbour in this folder: every backend and every wiring, each with every scenario. Two files, as they can run side by side. */
import { describeScenarios } from '../support/describe-scenarios.ts';

describeScenarios('iptables-nft', 'routed');
