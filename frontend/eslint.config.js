import vue from 'eslint-plugin-vue'
import typescript from 'typescript-eslint'

// Mistakes only: how code looks is for its author and reviewer.
export default typescript.config(
  { ignores: ['dist', 'client/dist', 'client/example', 'src/api/schema.d.ts'] },
  ...typescript.configs.recommended,
  ...vue.configs['flat/essential'],
  { files: ['**/*.vue'], languageOptions: { parserOptions: { parser: typescript.parser } } },
  {
    rules: {
      eqeqeq: 'error',
      'no-console': ['error', { allow: ['error'] }],
      'no-eval': 'error',
      'no-implied-eval': 'error',
      // TypeScript knows better what exists.
      'no-undef': 'off',
      '@typescript-eslint/no-unused-expressions': ['error', { allowShortCircuit: true, allowTernary: true }],
      'vue/no-v-html': 'error',
      // Icon, Avatar and their like can be no HTML elements of the future: those have a hyphen or are lower case.
      'vue/multi-word-component-names': 'off',
    },
  },
  { files: ['scripts/*'], rules: { 'no-console': 'off' } },
)
