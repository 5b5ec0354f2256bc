/** Is a device called what its person would call it? */
import t from 'tap'
import { deviceName } from '../../../src/relay/page/device-name.ts'

const MOZILLA = 'Mozilla/5.0'

t.test('a device is called by its system and its browser', async (t) => {
  for (const [agent, name] of [
    [
      `${MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1`,
      'iPhone, Safari',
    ],
    [
      `${MOZILLA} (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/137.0 Mobile/15E148 Safari/604.1`,
      'iPhone, Chrome',
    ],
    [
      `${MOZILLA} (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile Safari/537.36`,
      'Android, Chrome',
    ],
    [`${MOZILLA} (Android 15; Mobile; rv:139.0) Gecko/139.0 Firefox/139.0`, 'Android, Firefox'],
    [
      `${MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 Edg/137.0.0.0`,
      'Windows, Edge',
    ],
    [
      `${MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15`,
      'Mac, Safari',
    ],
    ['something else', 'Browser'],
    ['', 'Browser'],
  ] as const)
    t.equal(deviceName(agent), name)
})
