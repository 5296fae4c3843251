// Before the first paint: the chosen theme and language, and a nonce for the styles that components add.
(function () {
  var root = document.documentElement
  var stored = function (key) {
    try { return localStorage.getItem(key) } catch { return null }
  }
  var theme = stored('rollcall.theme')
  var dark = theme === 'dark' || (theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  root.dataset.theme = dark ? 'dark' : 'light'
  root.lang = stored('rollcall.locale') || (navigator.language.toLowerCase().indexOf('zh') === 0 ? 'zh-CN' : 'en')

  // The content security policy admits only <style> elements that carry the nonce of this page.
  var meta = document.querySelector('meta[property="csp-nonce"]')
  var nonce = meta && meta.nonce
  if (!nonce) return
  var create = Document.prototype.createElement
  Document.prototype.createElement = function (name, options) {
    var element = create.call(this, name, options)
    if (String(name).toLowerCase() === 'style') element.setAttribute('nonce', nonce)
    return element
  }
})()
