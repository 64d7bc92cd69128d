// @ts-check
/** Elements from code: text is always text, never markup. */

/**
 * An element with properties and children.
 *
 * `class` and names with a dash become attributes, `on…` functions listeners, `dataset` and
 * `style` objects are merged, anything else is set as a property.
 *
 * @param {string} tag
 * @param {Record<string, any> | null} [properties]
 * @param {...(Node | string | number | null | undefined | false | Array<any>)} children
 * @returns {any}
 */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on") && typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else if (name === "class") {
      element.className = value;
    } else if (name === "dataset" || name === "style") {
      Object.assign(/** @type {any} */ (element)[name], value);
    } else if (name.includes("-") || name === "role" || name === "for" || name === "list") {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false) element.setAttribute(name, String(value));
    } else {
      /** @type {any} */ (element)[name] = value;
    }
  }
  append(element, children);
  return element;
}

/**
 * @param {Node} parent
 * @param {any} child
 */
function append(parent, child) {
  if (Array.isArray(child)) for (const one of child) append(parent, one);
  else if (child instanceof Node) parent.appendChild(child);
  else if (child !== null && child !== undefined && child !== false) {
    parent.appendChild(document.createTextNode(String(child)));
  }
}

/**
 * Sets a node's text if it is another one: a text that stays the same costs no layout.
 *
 * @param {Node} node
 * @param {string} text
 */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
