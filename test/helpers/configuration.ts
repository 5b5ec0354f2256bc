/** What is the smallest valid configuration, and which problems do others have? */
import { ConfigError, loadConfig, type Environment } from '../../src/config/load.ts'

export const CONFIG_SECRET = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
export const OTHER_CONFIG_SECRET = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'

/** The required settings. */
export const BASE: Environment = {
  GATEWAY_WORKSPACE: 'houston',
  GATEWAY_JWT_SECRET: CONFIG_SECRET,
}

/** The problems of an environment; an empty list when it is valid. */
export function problemsOf(env: Environment): readonly string[] {
  try {
    loadConfig({ ...BASE, ...env })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
