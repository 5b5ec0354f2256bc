/**
 * How does Redis decide? By one Lua script, which is one step for everybody else. A user of a policy is one key: a sorted set, in which
 * the id of a grant has as its score when it was taken: the millisecond, a thousand times, and which of this millisecond it was.
 */

/** The time of Redis in milliseconds since 1970, as an expression in Lua. */
const REDIS_TIME =
  "(function() local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end)()"

/** How many grants of one millisecond keep their order: as many as a window has points at most. */
const PER_MS = 1000

/**
 * How much longer than it counts a key is kept, in milliseconds. Redis reads its clock once for the script and once more for the age
 * of a key: without this, a question would sometimes find a key too short by a millisecond, and write.
 */
const KEPT_LONGER_MS = 1000

/**
 * The script. It has one key and these arguments, of which rate-limiter-flexible gives the first four:
 * 1. what to do: 1 takes a point, 0 looks, -1 gives one back;
 * 2. the length of the longest window, in seconds;
 * 3. the most points of a window;
 * 4. the same as 2;
 * 5. the id of the grant; empty for the youngest, and to look;
 * 6. the points of a window, 7. its length in milliseconds, and so on for each window.
 *
 * It answers with
 * 1. how many of the points (3) are gone where the fewest are left, and one more for a refusal: what the library compares with the points;
 * 2. how many milliseconds it is until every window has room, or 0;
 * 3. the time;
 * 4. what became of it: `taken`, `repeated`, `refused`, `seen`, `returned` or `none`;
 * 5. the grant that was given back, as its id and its time, or nothing;
 * 6. the grants that count, as their ids and times, the oldest first.
 *
 * Nothing is written that changes nothing: a Redis that can only be read can be asked what a user has taken, and one whose memory is
 * full lets a script go on that has written something before.
 * @param clock the time in milliseconds, as an expression in Lua. Default: that of Redis
 */
export function limitScript(clock: string = REDIS_TIME): string {
  return `
local key, act, id = KEYS[1], tonumber(ARGV[1]), ARGV[5]
local longest, points = ARGV[2] * 1000, tonumber(ARGV[3])
local now = ${clock}

-- The scores of a millisecond begin with this one.
local function from(time) return string.format('%.0f', time * ${PER_MS}) end
local function timeOf(score) return math.floor(score / ${PER_MS}) end

-- The score of a grant of this moment: after those of the same millisecond.
local function nextScore()
  local last = redis.call('ZREVRANGEBYSCORE', key, '(' .. from(now + 1), from(now), 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return last and string.format('%.0f', math.min(last + 1, from(now) + ${PER_MS - 1})) or from(now)
end

-- What lies in the future was made now: the clock went back.
for _, early in ipairs(redis.call('ZRANGEBYSCORE', key, from(now + 1), '+inf')) do
  redis.call('ZADD', key, nextScore(), early)
end
local old = '(' .. from(now - longest + 1)
if redis.call('ZCOUNT', key, '-inf', old) > 0 then redis.call('ZREMRANGEBYSCORE', key, '-inf', old) end

-- How many points are left where the fewest are, and how long it is until every window has room.
local function room()
  local left, wait = points, 0
  for i = 6, #ARGV, 2 do
    local most, since = tonumber(ARGV[i]), now - ARGV[i + 1]
    local used = redis.call('ZCOUNT', key, from(since + 1), '+inf')
    left = math.min(left, math.max(0, most - used))
    if used >= most then
      -- Where more are used than there are points, room comes when the last one too many has left.
      local leaves = redis.call('ZREVRANGE', key, most - 1, most - 1, 'WITHSCORES')
      wait = math.max(wait, timeOf(leaves[2]) - since)
    end
  end
  return left, wait
end

local outcome, gone = 'seen', {}
if act > 0 then
  if redis.call('ZSCORE', key, id) then outcome = 'repeated'
  elseif room() == 0 then outcome = 'refused'
  else
    redis.call('ZADD', key, nextScore(), id)
    outcome = 'taken'
  end
elseif act < 0 then
  if id == '' then id = redis.call('ZREVRANGE', key, 0, 0)[1] or '' end
  local score = redis.call('ZSCORE', key, id)
  outcome = 'none'
  if score then
    redis.call('ZREM', key, id)
    outcome, gone = 'returned', {id, timeOf(score)}
  end
end

local grants = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
for i = 2, #grants, 2 do grants[i] = timeOf(grants[i]) end
local youngest = grants[#grants]
if youngest and redis.call('PTTL', key) < youngest + longest - now then
  redis.call('PEXPIRE', key, longest + ${KEPT_LONGER_MS})
end
local left, wait = room()
return {points - left + (outcome == 'refused' and 1 or 0), wait, now, outcome, gone, grants}`
}

/** Writes something as the script does, into a key that ends in a minute: whether it could, now. */
export const PROBE_SCRIPT = `
redis.call('ZADD', KEYS[1], 1, 'written')
return redis.call('PEXPIRE', KEYS[1], 60000)`
