// What the checker knows of a page. Which kind an element is, only its template says: elements and events are taken as
// they come; our own functions, their arguments and what they return are checked.

interface Document {
  getElementById(id: string): any;
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}
interface ParentNode {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}
interface DocumentFragment {
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}
interface Element {
  closest(selectors: string): any;
  querySelector(selectors: string): any;
  querySelectorAll(selectors: string): NodeListOf<any>;
}
interface EventTarget {
  [name: string]: any;
}
interface Event {
  [name: string]: any;
}
interface Node {
  [name: string]: any;
}

// Scripts that pages load beside ours.
declare const htmx: any;
declare const uPlot: any;
declare const webauthnJSON: any;
