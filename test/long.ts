/** True under `npm run test:long`. */
export const long = process.env['LONG'] === '1'

/** How often, how many or how long: the first in `npm test`, the second in `npm run test:long`. */
export function repeat(short: number, whenLong: number): number {
  return long ? whenLong : short
}
