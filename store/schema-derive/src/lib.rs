//! `#[derive(Record)]`: a struct's fields and doc comments become a table.
use proc_macro::TokenStream;
use proc_macro2::{Group, Ident, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Fields, GenericParam, Lit, Meta, parse_macro_input,
};

/// Declares a table: the struct is a row, a field a column, a doc comment its documentation.
///
/// For `struct Http<'a> { … }` it makes `HttpColumns`, which implements `schema::value::Columns`
/// with the table's name `http`. A table or column without a doc comment does not compile.
#[proc_macro_derive(Record)]
pub fn record(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

fn expand(input: &DeriveInput) -> syn::Result<proc_macro2::TokenStream> {
    let Data::Struct(body) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "a record is a struct"));
    };
    let Fields::Named(fields) = &body.fields else {
        return Err(syn::Error::new_spanned(&input.ident, "a record has named fields"));
    };
    let (row, vis) = (&input.ident, &input.vis);
    let columns = format_ident!("{row}Columns");
    let table = row.to_string().to_lowercase();
    let table_doc = doc(&input.attrs);
    if table_doc.is_empty() {
        let message = "a record needs a doc comment: it is the table's documentation";
        return Err(syn::Error::new_spanned(row, message));
    }
    let row_type = match input.generics.params.first() {
        None => quote!(#row),
        Some(GenericParam::Lifetime(_)) if input.generics.params.len() == 1 => quote!(#row<'a>),
        Some(it) => return Err(syn::Error::new_spanned(it, "a record has at most one lifetime")),
    };
    let names: Vec<_> = fields.named.iter().map(|it| it.ident.as_ref()).collect();
    if names.len() > MOST_COLUMNS {
        let message = format!("a record has at most {MOST_COLUMNS} columns");
        return Err(syn::Error::new_spanned(row, message));
    }
    let bits: Vec<_> = (0..names.len()).map(|it| 1_u128 << it).collect();
    let types: Vec<_> = fields.named.iter().map(|it| with_static(&it.ty)).collect();
    let docs = fields
        .named
        .iter()
        .map(|it| match doc(&it.attrs) {
            doc if doc.is_empty() => {
                Err(syn::Error::new_spanned(it, "a column needs a doc comment"))
            }
            doc => Ok(doc),
        })
        .collect::<syn::Result<Vec<_>>>()?;
    let about = format!("The rows of `{table}`, a builder for each column.");
    Ok(quote! {
        #[doc = #about]
        #[derive(Default)]
        #vis struct #columns {
            /// A bit for each column that is left out.
            _left_out: u128,
            #(#names: <#types as ::schema::value::Value>::Builder),*
        }

        impl ::std::fmt::Debug for #columns {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!(#columns)).finish_non_exhaustive()
            }
        }

        impl ::schema::value::Columns for #columns {
            const TABLE: ::schema::Table = ::schema::Table {
                name: ::std::borrow::Cow::Borrowed(#table),
                doc: ::std::borrow::Cow::Borrowed(#table_doc),
                fields: ::std::borrow::Cow::Borrowed(&[#(::schema::Field {
                    name: ::std::borrow::Cow::Borrowed(stringify!(#names)),
                    doc: ::std::borrow::Cow::Borrowed(#docs),
                    kind: <#types as ::schema::value::Value>::KIND,
                    nullable: <#types as ::schema::value::Value>::NULLABLE,
                }),*]),
            };
            type Row<'a> = #row_type;

            fn push(&mut self, row: Self::Row<'_>) {
                #(if self._left_out & #bits == 0 {
                    ::schema::value::Value::append(row.#names, &mut self.#names);
                })*
            }
            fn finish(&mut self) -> ::std::vec::Vec<::schema::derived::ArrayRef> {
                let mut columns = ::std::vec::Vec::with_capacity(Self::TABLE.fields.len());
                #(if self._left_out & #bits == 0 {
                    columns.push(::schema::value::Build::finish(&mut self.#names));
                })*
                columns
            }
            fn bytes(&self) -> usize {
                0 #(+ ::schema::value::Build::bytes(&self.#names))*
            }
            fn keep_only(&mut self, keeps: &dyn Fn(&str) -> bool) {
                self._left_out = 0 #(| if keeps(stringify!(#names)) { 0 } else { #bits })*;
            }
        }
    })
}

/// Columns are told apart by the bits of a number.
const MOST_COLUMNS: usize = 128;

/// The type with every lifetime made `'static`: its builder does not depend on how long a value lives.
fn with_static(tokens: impl ToTokens) -> proc_macro2::TokenStream {
    let mut after_tick = false;
    let replaced = tokens.into_token_stream().into_iter().map(|token| {
        let is_name = std::mem::replace(
            &mut after_tick,
            matches!(&token, TokenTree::Punct(it) if it.as_char() == '\''),
        );
        match token {
            TokenTree::Ident(it) if is_name => Ident::new("static", it.span()).into(),
            TokenTree::Group(it) => Group::new(it.delimiter(), with_static(it.stream())).into(),
            it => it,
        }
    });
    replaced.collect()
}

fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(it) if it.path.is_ident("doc") => match &it.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}
