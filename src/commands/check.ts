/** `workspace-gateway check`: is the configuration valid? The command validates it and prints every setting in force. */
import { EXIT } from '../process/exit-codes.ts'
import { parseArgs } from 'node:util'
import {
  ConfigError,
  loadConfig,
  nearestVariable,
  readSetting,
  sourceOf,
  type Config,
  type Environment,
  type SettingSource,
} from '../config/load.ts'
import type { Setting } from '../config/setting.ts'
import { LINK_PREFIX, LINK_SETTINGS } from '../config/link-settings.ts'
import { LIMITS_PREFIX, LIMITS_SETTINGS, nearestLimitsVariable } from '../config/limits-settings.ts'
import { nearestName } from '../config/nearest.ts'
import { RELAY_PREFIX, RELAY_SETTINGS } from '../config/relay-settings.ts'
import { SETTINGS } from '../config/settings.ts'
import {
  nearestKeeperVariable,
  PREFIX as KEEPER_PREFIX,
  TERMINALS_SETTINGS,
} from '../config/terminals-settings.ts'
import { nearestVaultVariable, VAULT_PREFIX, VAULT_SETTINGS } from '../config/vault-settings.ts'
import { configAdvice } from './advice.ts'
import type { Io } from './io.ts'
import { jsonText } from './printable.ts'
import { factorFaults } from './factor-faults.ts'
import { damageText, lookAtState, type StateLook } from './state-look.ts'

/** A setting in force. */
interface Effective {
  readonly name: string
  /** The value as it would be written in the environment; for a secret, its size; null when not set. */
  readonly value: string | null
  readonly secret: boolean
  readonly from: SettingSource
  /** The file from which the value was read. */
  readonly file?: string
}

/**
 * Checks the configuration without listening, and prints it with secrets masked.
 * @returns 0 when the gateway would start with the configuration, 78 when it would not, 64 for an unknown name of a setting
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function check(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, explain: { type: 'string' } },
  })
  if (values.explain !== undefined) return explain(values.explain, env, io, values.json)
  let config: Config
  try {
    config = loadConfig(env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return refuse(error.problems, error.message)
  }
  const state = lookAtState(config.stateDir)
  if (state.kind === 'newer') return refuse([state.why], state.why)
  const settings = effectiveSettings(config, env)
  const warnings = [...(await configAdvice(config, env)), ...stateAdvice(config, state)]
  if (values.json) io.out(jsonText({ valid: true, problems: [], settings, warnings }))
  else io.out(report(settings, warnings))
  return EXIT.ok

  function refuse(problems: readonly string[], message: string): number {
    if (values.json) io.out(jsonText({ valid: false, problems }))
    else io.err(`workspace-gateway: ${message}\n`)
    return EXIT.config
  }
}

/** What is wrong with the state, which does not keep the gateway from starting. */
function stateAdvice(config: Config, state: StateLook): string[] {
  const { stateDir } = config
  const where = `the state in ${stateDir}`
  if (state.kind === 'damaged')
    return [
      `${where} is damaged (${state.why}): the next start moves it aside, signs everybody out, and API tokens are gone; "workspace-gateway state restore FILE" restores a backup`,
    ]
  if (state.kind === 'unreadable') return [`${where} cannot be looked at: ${state.why}`]
  if (state.kind !== 'sound') return []
  return [
    ...(state.damage === undefined ? [] : [`${where}: ${damageText(state.damage)}`]),
    ...factorFaults(state.factors, config, Date.now()).map(
      ({ fault, remedy }) => `${fault}; ${remedy}`,
    ),
  ]
}

const DECLARED = Object.entries(SETTINGS) as ReadonlyArray<
  readonly [keyof Config, Setting<unknown>]
>

/** The settings of our other programs, which can be explained here too. */
const OTHERS: ReadonlyArray<{
  readonly prefix: string
  readonly settings: ReadonlyArray<Setting<unknown>>
  readonly nearest: (name: string) => string | undefined
}> = [
  {
    prefix: KEEPER_PREFIX,
    settings: Object.values<Setting<unknown>>(TERMINALS_SETTINGS),
    nearest: nearestKeeperVariable,
  },
  {
    prefix: VAULT_PREFIX,
    settings: Object.values<Setting<unknown>>(VAULT_SETTINGS),
    nearest: nearestVaultVariable,
  },
  {
    prefix: LIMITS_PREFIX,
    settings: Object.values<Setting<unknown>>(LIMITS_SETTINGS),
    nearest: nearestLimitsVariable,
  },
  programWith(LINK_PREFIX, Object.values<Setting<unknown>>(LINK_SETTINGS)),
  programWith(RELAY_PREFIX, Object.values<Setting<unknown>>(RELAY_SETTINGS)),
]

function programWith(prefix: string, settings: ReadonlyArray<Setting<unknown>>) {
  const names = settings.map(({ env }) => env)
  return { prefix, settings, nearest: (name: string) => nearestName(name, names, 3) }
}

function effectiveSettings(config: Config, env: Environment): Effective[] {
  // Show values as they were written, but the state folder as the resolved path.
  const plainValue = (key: keyof Config): string | null =>
    key === 'stateDir' ? config[key] : env[SETTINGS[key].env] || SETTINGS[key].default || null
  return DECLARED.map(([key, setting]) => {
    const { env: name, secret } = setting
    const from = sourceOf(setting, env)
    const file = env[`${name}_FILE`]
    return {
      name,
      value: secret ? masked(config[key]) : plainValue(key),
      secret,
      from,
      ...(from === 'file' && file !== undefined ? { file } : {}),
    }
  })
}

/** Describes a secret without its value: that it is set, and its size. */
function masked(value: unknown): string | null {
  const secrets = (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string')
  if (secrets.length === 0) return null
  const sizes = secrets.map((secret) => Buffer.byteLength(secret)).join(' and ')
  return secrets.length === 1
    ? `set, ${sizes} bytes`
    : `set, ${secrets.length} secrets of ${sizes} bytes`
}

function report(settings: readonly Effective[], warnings: readonly string[]): string {
  const rows = settings.map(({ name, value, from, file }) => [
    name,
    value === null ? '-' : printable(value),
    file === undefined ? from : `file ${printable(file)}`,
  ])
  const width = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const [nameWidth, valueWidth] = [width(0), Math.min(width(1), 40)]
  const table = rows
    .map(
      ([name = '', value = '', from = '']) =>
        `  ${name.padEnd(nameWidth)}  ${value.padEnd(valueWidth)}  ${from}`,
    )
    .join('\n')
  const advice =
    warnings.length === 0
      ? 'Nothing in it is unwise.'
      : `Legal, but unwise:\n${warnings.map((line) => `  ${line}`).join('\n')}`
  return `The configuration is valid.\n\n${table}\n\n${advice}\n`
}

/** Prints the meaning and the current value of one setting. */
function explain(asked: string, env: Environment, io: Io, json: boolean): number {
  const name = asked.toUpperCase().replaceAll('-', '_')
  const other = OTHERS.find(({ prefix }) => name.startsWith(prefix))
  const full = other !== undefined || name.startsWith('GATEWAY_') ? name : `GATEWAY_${name}`
  const setting = (other?.settings ?? DECLARED.map(([, one]) => one)).find(
    (one) => one.env === full || (one.secret && `${one.env}_FILE` === full),
  )
  if (setting === undefined) {
    const nearest = (other?.nearest ?? nearestVariable)(full)
    io.err(
      `workspace-gateway: ${printable(asked)} is not a setting${nearest === undefined ? '; "workspace-gateway help" lists them' : `; did you mean ${nearest}?`}\n`,
    )
    return EXIT.usage
  }
  const { env: variable, description, accepts, secret, required } = setting
  const fallback = required ? 'none: it is required' : setting.default || 'not set'
  const now = valueNow(setting, env)
  if (json) {
    io.out(jsonText({ name: variable, description, accepts, default: fallback, secret, now }))
    return EXIT.ok
  }
  const lines = [
    variable,
    `  ${description}`,
    `  Takes    ${accepts}`,
    `  Default  ${fallback}`,
    ...(secret ? [`  Secret   never printed; ${variable}_FILE takes the path of a file`] : []),
    `  Now      ${now}`,
  ]
  io.out(`${lines.join('\n')}\n`)
  return EXIT.ok
}

function valueNow(setting: Setting<unknown>, env: Environment): string {
  const from = sourceOf(setting, env)
  if (from === 'default') return setting.required ? 'missing' : 'the default'
  try {
    const value = readSetting(setting, env)
    const text = setting.secret ? masked(value) : printable(env[setting.env] ?? '')
    return `${text ?? 'not set'}, from ${from === 'file' ? `the file in ${setting.env}_FILE` : 'the environment'}`
  } catch (error) {
    return `wrong: ${error instanceof Error ? error.message : 'unreadable'}`
  }
}

/** Makes a text safe to print on one line of a terminal: a text with control characters is printed as a JSON string. */
function printable(text: string): string {
  return /^[^\p{C}]*$/u.test(text) ? text : JSON.stringify(text)
}
