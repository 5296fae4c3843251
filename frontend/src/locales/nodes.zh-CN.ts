/** The words of the page of nodes. `|` separates plural forms, so none may stand in a text. */
export default {
  nodes: {
    title: '节点',
    sum: '{n} 个节点中有 {up} 个接受连接',
    self: '当前节点',
    empty: '已全部迁走',
    left: '剩余 {n} 个，约需 {eta}',
    progress: '{name} 已迁走的客户端',
    col: { name: '节点', state: '状态', clients: '客户端', load: '负载（1 分钟）', uptime: '运行时间', heard: '最后心跳', version: '版本', actions: '操作' },
    state: { up: '正常', draining: '排空中', suspect: '无响应', dead: '已失联' },
    drain: {
      button: '排空',
      title: '排空节点 {name}？',
      text: '该节点不再接受新连接，并让现有的 {n} 个客户端陆续改连其他节点。',
      alone: '没有其他节点可接受连接：客户端要等到此节点恢复。',
      rate: '每秒客户端数',
      rateNone: '尽快全部迁走',
      rateHint: '留空则在该节点的 server.drain 时间内全部迁走；限速可避免其他节点瞬间压力过大。',
      confirm: '排空',
      done: '{name} 正在迁走客户端',
    },
    resume: {
      button: '恢复',
      title: '恢复节点 {name}？',
      text: '该节点重新接受连接，剩余的 {n} 个客户端保持不动。',
      confirm: '恢复',
      done: '{name} 已重新接受连接',
    },
  },
}
