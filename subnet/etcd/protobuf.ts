import protobuf from 'protobufjs/minimal.js'

/**
 * Messages of Protocol Buffers as tables of their fields, from which their types follow: `rpc.ts` has etcd's. Bytes are written and read by
 * protobufjs; nothing is generated, neither at build nor at run time (Documentation/decisions/0021-etcd-messages.md).
 */

type Writer = protobuf.Writer
type Reader = protobuf.Reader

/** How one value is written and read. `In`: what may be given; `Out`: what is read. Source: protobuf.dev, "Encoding". */
interface Codec<In, Out, W extends 0 | 2 = 0 | 2> {
  /** 0: varint, 2: length-delimited. */
  readonly wireType: W
  /** What a field that is not there says. */
  readonly absent: () => Out
  readonly write: (writer: Writer, value: In) => void
  readonly read: (reader: Reader) => Out
}

export interface Field<In, Out> {
  readonly number: number
  readonly wireType: 0 | 2
  absent(): Out
  write(writer: Writer, value: In): void
  /** What the field says with one more occurrence of it. */
  read(reader: Reader, before: Out): Out
}

type Fields = Readonly<Record<string, Field<unknown, unknown>>>
type In<F> = F extends Field<infer I, infer _O> ? I : never
type Out<F> = F extends Field<never, infer O> ? O : never

/** As it is given: fields that say nothing may be left out. */
type Given<F extends Fields> = { readonly [K in keyof F]?: In<F[K]> }
/** As it is read: every field is there. */
type Read<F extends Fields> = { readonly [K in keyof F]: Out<F[K]> }

export interface Message<G, R> {
  encode(message: G): Buffer
  /** @throws Error for bytes that are no such message */
  decode(bytes: Uint8Array): R
  /** In another message. */
  readonly nested: Codec<G, R, 2>
}

/** What is read of such a message. */
export type ReadOf<M> = M extends Message<never, infer R> ? R : never
export type GivenOf<M> = M extends Message<infer G, unknown> ? G : never

export function message<F extends Fields>(fields: F): Message<Given<F>, Read<F>> {
  const entries = Object.entries(fields)
  const byNumber = new Map(entries.map(([name, field]) => [field.number, { name, field }]))

  function write(writer: Writer, given: Given<F>): Writer {
    for (const [name, field] of entries) {
      const value: unknown = given[name]
      if (value !== undefined) field.write(writer, value)
    }
    return writer
  }

  function read(reader: Reader, end: number): Read<F> {
    const found: Record<string, unknown> = {}
    for (const [name, field] of entries) found[name] = field.absent()
    while (reader.pos < end) {
      const tag = reader.uint32()
      const known = byNumber.get(tag >>> 3)
      if (known === undefined || known.field.wireType !== (tag & 7)) {
        reader.skipType(tag & 7)
        continue
      }
      found[known.name] = known.field.read(reader, found[known.name])
    }
    if (reader.pos !== end) throw new RangeError('a nested message is longer than what holds it')
    return found as Read<F>
  }

  return {
    encode: (given) => write(protobuf.Writer.create(), given).finish() as Buffer,
    decode: (bytes) => read(protobuf.Reader.create(bytes), bytes.length),
    nested: {
      wireType: 2,
      absent: () => read(protobuf.Reader.create(new Uint8Array(0)), 0),
      write: (writer, given) => write(writer.fork(), given).ldelim(),
      read: (reader) => {
        const length = reader.uint32()
        return read(reader, reader.pos + length)
      },
    },
  }
}

export function field<I, O>(number: number, codec: Codec<I, O>): Field<I, O> {
  return { ...optional(number, codec), absent: codec.absent, read: codec.read }
}

/** Undefined where it is not there. */
export function optional<I, O>(number: number, { wireType, write, read }: Codec<I, O>): Field<I, O | undefined> {
  return {
    number,
    wireType,
    absent: () => undefined,
    write: (writer, value) => write(writer.uint32(tagOf(number, wireType)), value),
    read,
  }
}

/** Of what is length-delimited only: numbers would be packed. */
export function repeated<I, O>(number: number, { wireType, write, read }: Codec<I, O, 2>): Field<readonly I[], O[]> {
  return {
    number,
    wireType,
    absent: () => [],
    write: (writer, values) => {
      for (const value of values) write(writer.uint32(tagOf(number, wireType)), value)
    },
    read: (reader, before) => {
      before.push(read(reader))
      return before
    },
  }
}

function tagOf(number: number, wireType: number): number {
  return (number << 3) | wireType
}

export const bool: Codec<boolean, boolean> = {
  wireType: 0,
  absent: () => false,
  write: (writer, value) => writer.bool(value),
  read: (reader) => reader.bool(),
}

const NOTHING = Buffer.alloc(0)

export const bytes: Codec<Uint8Array, Buffer, 2> = {
  wireType: 2,
  absent: () => NOTHING,
  write: (writer, value) => writer.bytes(value),
  read: (reader) => reader.bytes() as Buffer,
}

export const string: Codec<string, string, 2> = {
  wireType: 2,
  absent: () => '',
  write: (writer, value) => writer.string(value),
  // protobufjs's own `string` of a Buffer takes what is cut off.
  read: (reader) => (reader.bytes() as Buffer).toString('utf8'),
}

/** Decimal digits: a number of JavaScript holds 53 bits. */
export const int64 = integer64((reader) => reader.int64())
export const uint64 = integer64((reader) => reader.uint64())

export type Digits = string | number | bigint

function integer64(read: (reader: Reader) => number | protobuf.Long): Codec<Digits, string> {
  return {
    wireType: 0,
    absent: () => '0',
    write: (writer, value) => {
      const bits = BigInt.asUintN(64, BigInt(value))
      writer.uint64({ low: Number(bits & 0xffffffffn), high: Number(bits >> 32n), unsigned: true })
    },
    read: (reader) => {
      const value = read(reader)
      if (typeof value === 'number') return String(value)
      const { high, low, unsigned } = value
      // Revisions and counts need no arithmetic of 64 bits.
      if (high === 0) return String(low >>> 0)
      return String((BigInt(unsigned ? high >>> 0 : high) << 32n) | BigInt(low >>> 0))
    },
  }
}

/** By their names, in the order of their numbers from 0 on. A number that has no name is read as the first. */
export function enumeration<const N extends readonly [string, ...string[]]>(names: N): Codec<N[number], N[number]> {
  return {
    wireType: 0,
    absent: () => names[0],
    write: (writer, value) => writer.int32(names.indexOf(value)),
    read: (reader) => names[reader.int32()] ?? names[0],
  }
}
