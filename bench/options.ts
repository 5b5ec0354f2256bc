/** Which options does the benchmark take? Those parsed here from the command line. */
import { parseArgs } from 'node:util'

/** The options of a run. */
export interface Options<Name extends string> {
  /** Only the few peers, and by default the few figures, that show whether a change helped. */
  readonly quick: boolean
  readonly only: readonly Name[]
  /** Measure how cost grows, in separate tables. */
  readonly growth: boolean
  /** Minutes of load instead of measurements. */
  readonly soakMinutes: number | undefined
  /** The number of rounds that count. */
  readonly rounds: number
  /** The duration of the load of one turn, in seconds. */
  readonly seconds: number
  /** The maximum warm-up of a peer, in seconds. It ends earlier when the cost is level. */
  readonly warmUpSeconds: number
  /** Whether the benchmark gets priority over other programs of this machine. Needs root. */
  readonly priority: boolean
  /** A file for all values, as JSON. */
  readonly json: string | undefined
}

/**
 * Reads the arguments.
 * @param known the names of all scenarios
 * @throws {Error} with the problem as text
 */
export function parseOptions<Name extends string>(
  args: readonly string[],
  known: readonly Name[],
): Options<Name> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      soak: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '3' },
      'warm-up': { type: 'string', default: '20' },
      priority: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  })
  const names = (values.only ?? (values.quick ? 'proxied' : undefined))?.split(',')
  return {
    quick: values.quick,
    only: scenarios(
      names?.filter((name) => name !== 'growth'),
      known,
    ),
    growth: names?.includes('growth') ?? false,
    soakMinutes: values.soak === undefined ? undefined : wholeNumber('--soak', values.soak),
    rounds: wholeNumber('--rounds', values.rounds),
    seconds: wholeNumber('--seconds', values.seconds),
    warmUpSeconds: wholeNumber('--warm-up', values['warm-up']),
    priority: values.priority,
    json: values.json,
  }
}

function scenarios<Name extends string>(
  names: readonly string[] | undefined,
  known: readonly Name[],
): readonly Name[] {
  if (names === undefined) return known
  return names.map((name) => {
    const found = known.find((one) => one === name)
    if (found === undefined)
      throw new Error(`--only ${name}: there are ${known.join(', ')}, growth`)
    return found
  })
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} ${text}: a number from 1`)
  return value
}
