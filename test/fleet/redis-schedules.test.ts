/** Does the store in Redis answer as a plain model does, whatever is asked and whatever the clock does? With a real Redis. */
import t from 'tap'
import { openStore } from '../helpers/redis-limits.ts'
import { runSchedules } from '../helpers/limit-schedules.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'

/** The time is a key. Keys do not end, because Redis would end them by its own clock, which stands still beside that of the schedules. */
const CLOCK = `tonumber(redis.call('GET', 'clock'))
local real = redis
local redis = {call = function(name, ...)
  if name ~= 'PEXPIRE' then return real.call(name, ...) end
end}`

t.test('2,000 random schedules', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  await runSchedules(t, {
    openStore: () => openStore(t, redis.url, CLOCK).store,
    setClock: async (now) => void (await redis.does('SET', 'clock', String(now))),
    count: 2000,
  })
})
