import type zh from './nodes.zh-CN'
import type { SameKeys } from './same'

export default {
  nodes: {
    title: 'Nodes',
    sum: '{up} of {n} node taking clients | {up} of {n} nodes taking clients',
    self: 'this one',
    empty: 'Nobody is left',
    left: '{n} left, about {eta} | {n} left, about {eta}',
    progress: 'Clients of {name} that were sent elsewhere',
    col: { name: 'Node', state: 'State', clients: 'Clients', load: 'Load (1 min)', uptime: 'Uptime', heard: 'Last heard', version: 'Version', actions: 'Actions' },
    state: { up: 'up', draining: 'draining', suspect: 'suspect', dead: 'dead' },
    drain: {
      button: 'Drain',
      title: 'Drain {name}?',
      text: 'It takes nobody in any more, and tells its {n} client to come back elsewhere. | It takes nobody in any more, and tells its {n} clients one after the other to come back elsewhere.',
      alone: 'No other node takes clients: they wait until this one is resumed.',
      rate: 'Clients a second',
      rateNone: 'All at once',
      rateHint: 'Empty: all within server.drain of the node. A rate spares the other nodes a storm.',
      confirm: 'Drain',
      done: '{name} sends its clients elsewhere',
    },
    resume: {
      button: 'Resume',
      title: 'Resume {name}?',
      text: 'It takes clients again; the {n} that is left stays. | It takes clients again; the {n} that are left stay.',
      confirm: 'Resume',
      done: '{name} takes clients again',
    },
  },
} satisfies SameKeys<typeof zh>
