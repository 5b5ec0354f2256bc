/** Which limits are in force? The built-in one, and those of LIMITS_POLICY_FILE. */
import { PROVISION, type LimitPolicies } from './limit-policies.ts'

/**
 * The policies that are in force.
 * @param path of LIMITS_POLICY_FILE; undefined when it is not set
 * @throws {ConfigError} with every problem of the file
 */
export async function readLimitPolicies(path: string | undefined): Promise<LimitPolicies> {
  const policies = new Map([[PROVISION.name, PROVISION]])
  if (path === undefined) return policies
  // Loaded late, because the parser is large and the built-in policy needs none.
  const { policiesInFile } = await import('./limit-policy-yaml.ts')
  for (const policy of policiesInFile(path, `LIMITS_POLICY_FILE ${path}`))
    policies.set(policy.name, policy)
  return policies
}
