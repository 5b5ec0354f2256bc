/** Do the second factors work that are kept here? The state file, the configured keys and the clock tell. */
import { factorFaults } from '../factor-faults.ts'
import { lookAtState } from '../state-look.ts'
import type { Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const FACTORS = 'second-factors'

export async function examineSecondFactor({ config }: Examination): Promise<Finding[]> {
  const look = lookAtState(config.stateDir)
  if (look.kind === 'none') return [pass(FACTORS, 'nobody has one')]
  if (look.kind !== 'sound') return [skip(FACTORS, 'the state cannot be looked at')]
  const faults = factorFaults(look.factors, config, Date.now())
  if (faults.length > 0)
    return faults.map(({ fault, remedy, passes }) =>
      passes ? warn(FACTORS, fault, remedy) : fail(FACTORS, fault, remedy),
    )
  const { enrolled } = look.factors
  const persons = enrolled === 1 ? '1 person has one' : `${enrolled} persons have one`
  return [pass(FACTORS, enrolled === 0 ? 'nobody has one' : persons)]
}
